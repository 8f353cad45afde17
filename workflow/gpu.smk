# Whether PyTorch can use the GPUs of a cluster, in one job with the resources of a training. A run with trainings on them
# begins with it (src/schemenets/study/cluster.py).


container: "workflow/schemenets.sif"


rule train:
    log:
        ".snakemake/schemenets.gpu.log",
    resources:
        mem_mb=8000,
        runtime=10,
        gpu=1,
    shell:
        "python -m schemenets info > {log} 2>&1"

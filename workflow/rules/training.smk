# Training: one job trains all seeds of an experiment, a method and a size.

SEEDS = sorted({seed for spec in JOBS.values() for seed in spec["seeds"]})


rule train:
    input:
        lambda wildcards: RESULTS.dataset(JOBS[named(wildcards)]["dataset"]),
        RESULTS.tuned("{method}"),
    output:
        expand(
            RESULTS.job(JOB) / "seed-{seed}.{suffix}", seed=SEEDS, suffix=["json", "safetensors"], allow_missing=True
        ),
    log:
        LOGS / "train" / f"{JOB}.log",
    # before evaluations, which are short and can fill the gaps at the end
    priority: 1
    threads: 1
    params:
        **stage("train"),
    shell:
        RUN

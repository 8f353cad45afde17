# Training: the learning rate of every method is chosen on validation data; then all seeds of a job are trained at once.


# tuning/{family}/{method}/{size_class}.json
rule tune:
    input:
        unpack(PLAN.inputs("tune")),
    output:
        **PLAN.outputs("tune"),
    log:
        PLAN.log("tune"),
    priority: 2
    threads: 1
    resources:
        mem_mb=growing(FOR_TRAINING),
        runtime=PLAN.minutes("tune", DEVICE),
        gpu=int(DEVICE == "cuda"),
    params:
        **PLAN.params("tune"),
    shell:
        f"{RUN} tune {{wildcards.family}}/{{wildcards.method}}/{{wildcards.size_class}} {OPTIONS}"


# rates.yaml
rule rates:
    input:
        unpack(PLAN.inputs("rates")),
    output:
        **PLAN.outputs("rates"),
    log:
        PLAN.log("rates"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("rates"),
    params:
        **PLAN.params("rates"),
    shell:
        f"{RUN} rates {OPTIONS}"


# runs/{experiment}/{method}/{size}/record.json, runs/{experiment}/{method}/{size}/weights.safetensors
rule train:
    input:
        unpack(PLAN.inputs("train")),
    output:
        **PLAN.outputs("train"),
    log:
        PLAN.log("train"),
    priority: 1
    threads: 1
    resources:
        mem_mb=growing(FOR_TRAINING),
        runtime=PLAN.minutes("train", DEVICE),
        gpu=int(DEVICE == "cuda"),
    params:
        **PLAN.params("train"),
    shell:
        f"{RUN} train {JOB} {OPTIONS}"


# map/{cell}.json
rule cells:
    input:
        unpack(PLAN.inputs("cells")),
    output:
        **PLAN.outputs("cells"),
    log:
        PLAN.log("cells"),
    threads: 1
    resources:
        mem_mb=growing(FOR_TRAINING),
        runtime=PLAN.minutes("cells", DEVICE),
        gpu=int(DEVICE == "cuda"),
    params:
        **PLAN.params("cells"),
    shell:
        f"{RUN} cells {{wildcards.cell}} {OPTIONS}"

# Evaluation: trained networks on every test set, their rivals, and how far test sets are from the training signals.


# runs/{experiment}/{method}/{size}/evaluation.json, runs/{experiment}/{method}/{size}/evaluation.safetensors
rule evaluate:
    input:
        unpack(PLAN.inputs("evaluate")),
    output:
        **PLAN.outputs("evaluate"),
    log:
        PLAN.log("evaluate"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("evaluate"),
    params:
        **PLAN.params("evaluate"),
    shell:
        f"{RUN} evaluate {JOB} {OPTIONS}"


# schemes.json
rule schemes:
    input:
        unpack(PLAN.inputs("schemes")),
    output:
        **PLAN.outputs("schemes"),
    log:
        PLAN.log("schemes"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("schemes"),
    params:
        **PLAN.params("schemes"),
    shell:
        f"{RUN} schemes {OPTIONS}"


# classical.json
rule classical:
    input:
        unpack(PLAN.inputs("classical")),
    output:
        **PLAN.outputs("classical"),
    log:
        PLAN.log("classical"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("classical"),
    params:
        **PLAN.params("classical"),
    shell:
        f"{RUN} classical {OPTIONS}"


# distances.json
rule distances:
    input:
        unpack(PLAN.inputs("distances")),
    output:
        **PLAN.outputs("distances"),
    log:
        PLAN.log("distances"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("distances"),
    params:
        **PLAN.params("distances"),
    shell:
        f"{RUN} distances {OPTIONS}"

# Signals: every data set is generated once and hashed, and so are evolutions and problems with their solutions.


# data/{dataset}.safetensors, data/{dataset}.json
rule signals:
    input:
        unpack(PLAN.inputs("signals")),
    output:
        **PLAN.outputs("signals"),
    log:
        PLAN.log("signals"),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=PLAN.minutes("signals"),
    params:
        **PLAN.params("signals"),
    shell:
        f"{RUN} signals {{wildcards.dataset}} {OPTIONS}"


# data/{evolution}.safetensors, data/{evolution}.json
rule evolution:
    input:
        unpack(PLAN.inputs("evolution")),
    output:
        **PLAN.outputs("evolution"),
    log:
        PLAN.log("evolution"),
    priority: 1  # its trainings come last anyway
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("evolution"),
    params:
        **PLAN.params("evolution"),
    shell:
        f"{RUN} evolution {{wildcards.evolution}} {OPTIONS}"


# data/{problem}.safetensors, data/{problem}.json
rule problems:
    input:
        unpack(PLAN.inputs("problems")),
    output:
        **PLAN.outputs("problems"),
    log:
        PLAN.log("problems"),
    priority: 1
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("problems"),
    params:
        **PLAN.params("problems"),
    shell:
        f"{RUN} problems {{wildcards.problem}} {OPTIONS}"

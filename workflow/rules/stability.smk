# Stability: certificates computed from the parameters and checked by dense matrices; a search for counterexamples;
# attacks; growth under repetition and through many blocks; convergence of fixed points.


# runs/{experiment}/{method}/{size}/stability.json
rule stability:
    input:
        unpack(PLAN.inputs("stability")),
    output:
        **PLAN.outputs("stability"),
    log:
        PLAN.log("stability"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("stability"),
    params:
        **PLAN.params("stability"),
    shell:
        f"{RUN} stability {JOB} {OPTIONS}"


# runs/{experiment}/{method}/{size}/robustness.json
rule robustness:
    input:
        unpack(PLAN.inputs("robustness")),
    output:
        **PLAN.outputs("robustness"),
    log:
        PLAN.log("robustness"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("robustness"),
    params:
        **PLAN.params("robustness"),
    shell:
        f"{RUN} robustness {JOB} {OPTIONS}"


# runs/{experiment}/{method}/{size}/growth.json
rule growth:
    input:
        unpack(PLAN.inputs("growth")),
    output:
        **PLAN.outputs("growth"),
    log:
        PLAN.log("growth"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("growth"),
    params:
        **PLAN.params("growth"),
    shell:
        f"{RUN} growth {JOB} {OPTIONS}"


# growth/{network}.json
rule random_growth:
    input:
        unpack(PLAN.inputs("random_growth")),
    output:
        **PLAN.outputs("random_growth"),
    log:
        PLAN.log("random_growth"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("random_growth"),
    params:
        **PLAN.params("random_growth"),
    shell:
        f"{RUN} random_growth {{wildcards.network}} {OPTIONS}"


# fixed_points.json
rule fixed_points:
    input:
        unpack(PLAN.inputs("fixed_points")),
    output:
        **PLAN.outputs("fixed_points"),
    log:
        PLAN.log("fixed_points"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("fixed_points"),
    params:
        **PLAN.params("fixed_points"),
    shell:
        f"{RUN} fixed_points {OPTIONS}"

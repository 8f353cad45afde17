# Solvers: tests of networks that learn to solve problems, and numerical schemes that solve them.


# runs/{experiment}/{method}/{size}/solutions.json
rule evaluate_solvers:
    input:
        unpack(PLAN.inputs("evaluate_solvers")),
    output:
        **PLAN.outputs("evaluate_solvers"),
    log:
        PLAN.log("evaluate_solvers"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("evaluate_solvers"),
    params:
        **PLAN.params("evaluate_solvers"),
    shell:
        f"{RUN} evaluate_solvers {JOB} {OPTIONS}"


# solvers.json
rule solvers:
    input:
        unpack(PLAN.inputs("solvers")),
    output:
        **PLAN.outputs("solvers"),
    log:
        PLAN.log("solvers"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("solvers"),
    params:
        **PLAN.params("solvers"),
    shell:
        f"{RUN} solvers {OPTIONS}"

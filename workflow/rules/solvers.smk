# Solvers: problems with converged solutions, numerical schemes that solve them, and networks that learn to.

PROBLEMS = STUDY.specs("problems")
SOLVERS = STUDY.specs("solver_train")


rule problems:
    output:
        RESULTS.dataset("{problem}"),
        RESULTS.dataset("{problem}").with_suffix(".json"),
    log:
        LOGS / "problems" / "{problem}.log",
    priority: 1
    threads: 1
    params:
        **stage("problems"),
    shell:
        RUN


rule solvers:
    input:
        [RESULTS.dataset(name) for name in PROBLEMS],
    output:
        RESULTS.solvers,
    log:
        LOGS / "solvers.log",
    threads: 1
    params:
        **stage("solvers"),
    shell:
        RUN


rule solver_tune:
    input:
        lambda wildcards: RESULTS.dataset(STUDY.specs("solver_tune")[wildcards.solver]["dataset"]),
    output:
        RESULTS.solver_tuned("{solver}"),
    log:
        LOGS / "solver-tune" / "{solver}.log",
    priority: 2
    threads: 1
    params:
        **stage("solver_tune"),
    shell:
        RUN


for number, (name, spec) in enumerate(SOLVERS.items()):

    rule:
        name:
            f"solver_train_{number}"
        input:
            RESULTS.dataset(spec["dataset"]),
            RESULTS.solver_tuned(spec["method"]),
        output:
            solver_seeds([name], "json"),
            solver_seeds([name], "safetensors"),
        log:
            LOGS / f"solver-train-{number}.log",
        priority: 1
        threads: 1
        params:
            **of_batch("solver_train", [name]),
        shell:
            RUN

    rule:
        name:
            f"solver_evaluate_{number}"
        input:
            RESULTS.dataset(spec["dataset"]),
            solver_seeds([name], "json"),
            solver_seeds([name], "safetensors"),
        output:
            RESULTS.job(name) / "evaluation.json",
        log:
            LOGS / f"solver-evaluate-{number}.log",
        threads: 1
        params:
            **of_batch("solver_evaluate", [name]),
        shell:
            RUN

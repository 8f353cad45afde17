# Solvers: problems with converged solutions, numerical schemes that solve them, and networks that learn to.

PROBLEMS, SOLVER_TUNINGS = STUDY.specs("problems"), STUDY.specs("solver_tune")


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


for number, batch in batches(SOLVER_TUNINGS, LONG):

    rule:
        name:
            f"solver_tune_{number}"
        input:
            sorted({RESULTS.dataset(SOLVER_TUNINGS[method]["dataset"]) for method in batch}),
        output:
            [RESULTS.solver_tuned(method) for method in batch],
        log:
            LOGS / f"solver-tune-{number}.log",
        priority: 2
        threads: 1
        params:
            **of_batch("solver_tune", batch),
        shell:
            RUN


for number, batch in batches(SOLVERS, LONG):

    rule:
        name:
            f"solver_train_{number}"
        input:
            sorted({RESULTS.dataset(SOLVERS[job]["dataset"]) for job in batch}),
            sorted({RESULTS.solver_tuned(SOLVERS[job]["tuned_as"]) for job in batch}),
        output:
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
        log:
            LOGS / f"solver-train-{number}.log",
        priority: 1
        threads: 1
        params:
            **of_batch("solver_train", batch),
        shell:
            RUN

    rule:
        name:
            f"solver_evaluate_{number}"
        input:
            sorted({RESULTS.dataset(SOLVERS[job]["dataset"]) for job in batch}),
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
        output:
            [RESULTS.job(job) / "evaluation.json" for job in batch],
        log:
            LOGS / f"solver-evaluate-{number}.log",
        threads: 1
        params:
            **of_batch("solver_evaluate", batch),
        shell:
            RUN

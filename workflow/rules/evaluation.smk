# Evaluation: every trained network on every test set, and the tables of all results.


for number, batch in batches(JOBS, SHORT):

    rule:
        name:
            f"evaluate_{number}"
        input:
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
            sorted({RESULTS.dataset(name) for job in batch for name in STUDY.tested_on(job)}),
        output:
            [RESULTS.job(name) / f"evaluation.{suffix}" for name in batch for suffix in ("json", "safetensors")],
        log:
            LOGS / f"evaluate-{number}.log",
        threads: 1
        params:
            **of_batch("evaluate", batch),
        shell:
            RUN


rule tables:
    input:
        seeds_of(JOBS, "json"),
        [RESULTS.job(name) / f"{stage}.json" for name in JOBS for stage in ("evaluation", "stability")],
        [RESULTS.job(name) / "robustness.json" for name in STUDY.specs("robustness")],
        [RESULTS.tuned(method) for method in STUDY.specs("tune")],
        [RESULTS.growth(name) for name in STUDY.specs("growth")],
        [RESULTS.remedies(name) for name in STUDY.remedies],
        RESULTS.multigrid,
        RESULTS.solvers,
        seeds_of(SOLVERS, "json"),
        [RESULTS.job(name) / "evaluation.json" for name in SOLVERS],
        [RESULTS.solver_tuned(method) for method in STUDY.specs("solver_tune")],
        RESULTS.fixed_points,
        RESULTS.schemes,
    output:
        [RESULTS.table(name) for name in TABLES],
    log:
        LOGS / "tables.log",
    threads: 1
    params:
        **stage("tables"),
    shell:
        RUN

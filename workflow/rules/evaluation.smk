# Evaluation: every trained network on every test set, and the tables of all results.


rule evaluate:
    input:
        rules.train.output,
        [RESULTS.dataset(name) for name in STUDY.test_sets],
    output:
        RESULTS.job(JOB) / "evaluation.json",
        RESULTS.job(JOB) / "evaluation.safetensors",
    log:
        LOGS / "evaluate" / f"{JOB}.log",
    threads: 1
    params:
        **stage("evaluate"),
    shell:
        run("evaluate")


rule tables:
    input:
        [RESULTS.job(name) / f"seed-{seed}.json" for name, spec in JOBS.items() for seed in spec["seeds"]],
        [RESULTS.job(name) / f"{stage}.json" for name in JOBS for stage in ("evaluation", "stability")],
        [RESULTS.tuned(method) for method in STUDY.specs("tune")],
        RESULTS.multigrid,
    output:
        [RESULTS.table(name) for name in ("runs", "psnr", "curves", "tuning", "stability", "multigrid")],
    log:
        LOGS / "tables.log",
    threads: 1
    params:
        **stage("tables"),
    shell:
        run("tables")

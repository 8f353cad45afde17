# Robustness: attacks on the trained networks of one experiment, by perturbations of growing size.


for number, batch in batches(STUDY.specs("robustness"), SHORT):

    rule:
        name:
            f"robustness_{number}"
        input:
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
            sorted({RESULTS.dataset(JOBS[name]["dataset"]) for name in batch}),
        output:
            [RESULTS.job(name) / "robustness.json" for name in batch],
        log:
            LOGS / f"robustness-{number}.log",
        threads: 1
        params:
            **of_batch("robustness", batch),
        shell:
            RUN

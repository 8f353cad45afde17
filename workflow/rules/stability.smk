# Stability: certificates from parameters alone, checked by dense matrices, and a search for counterexamples.


for number, batch in enumerate(BATCHES):

    rule:
        name:
            f"stability_{number}"
        input:
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
            sorted({RESULTS.dataset(JOBS[name]["dataset"]) for name in batch}),
        output:
            [RESULTS.job(name) / "stability.json" for name in batch],
        log:
            LOGS / f"stability-{number}.log",
        threads: 1
        params:
            **of_batch("stability", batch),
        shell:
            run("stability")

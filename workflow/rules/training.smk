# Training: one job trains all seeds of an experiment, a method and a size.


for number, batch in batches(JOBS, LONG):

    rule:
        name:
            f"train_{number}"
        input:
            sorted({RESULTS.dataset(JOBS[job]["dataset"]) for job in batch}),
            sorted({RESULTS.tuned(JOBS[job]["method"]) for job in batch}),
        output:
            seeds_of(batch, "json"),
            seeds_of(batch, "safetensors"),
        log:
            LOGS / f"train-{number}.log",
        # before evaluations, which are short and can fill the gaps at the end
        priority: 1
        threads: 1
        params:
            **of_batch("train", batch),
        shell:
            RUN

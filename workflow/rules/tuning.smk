# Tuning: every method's learning rate, chosen on validation data with seeds of its own.

TUNINGS = STUDY.specs("tune")


for number, batch in batches(TUNINGS, LONG):

    rule:
        name:
            f"tune_{number}"
        input:
            sorted({RESULTS.dataset(TUNINGS[method]["dataset"]) for method in batch}),
        output:
            [RESULTS.tuned(method) for method in batch],
        log:
            LOGS / f"tune-{number}.log",
        priority: 2  # everything waits for it
        threads: 1
        params:
            **of_batch("tune", batch),
        shell:
            RUN

# Stability: certificates from parameters alone, checked by dense matrices, and a search for counterexamples; what
# becomes of norms when networks are applied again and again, or have many blocks.

# Random networks take longer than trained ones: those of one architecture make a batch.
REPEATED = list(STUDY.repeated)
GROWTH = [REPEATED[first : first + AT_ONCE] for first in range(0, len(REPEATED), AT_ONCE)]
GROWTH += [[name] for name in STUDY.drawn]


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


for number, batch in enumerate(GROWTH):
    trained = [name for name in batch if name in JOBS]

    rule:
        name:
            f"growth_{number}"
        input:
            seeds_of(trained, "json"),
            seeds_of(trained, "safetensors"),
            sorted({RESULTS.dataset(JOBS[name]["dataset"]) for name in trained}),
        output:
            [RESULTS.growth(name) for name in batch],
        log:
            LOGS / f"growth-{number}.log",
        threads: 1
        params:
            **of_batch("growth", batch),
        shell:
            run("growth")


# Fixed points: how trained implicit networks converge, and what depth costs them.

IMPLICIT = [entry["job"] for entry in STUDY.specs("fixed_points")["all"]["networks"]]


rule fixed_points:
    input:
        seeds_of(IMPLICIT, "json"),
        seeds_of(IMPLICIT, "safetensors"),
        sorted({RESULTS.dataset(JOBS[name]["dataset"]) for name in IMPLICIT}),
    output:
        RESULTS.fixed_points,
    log:
        LOGS / "fixed-points.log",
    threads: 1
    params:
        **stage("fixed_points"),
    shell:
        run("fixed_points")

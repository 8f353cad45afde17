# Stability: certificates from parameters alone, checked by dense matrices, and a search for counterexamples; what
# becomes of norms when networks are applied again and again, or have many blocks.

GROWTH = STUDY.specs("growth")["all"]["jobs"]


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


rule growth:
    input:
        seeds_of(GROWTH, "json"),
        seeds_of(GROWTH, "safetensors"),
        sorted({RESULTS.dataset(job["dataset"]) for job in GROWTH.values()}),
    output:
        RESULTS.growth,
    log:
        LOGS / "growth.log",
    # it is long, and nothing but tables wait for it
    priority: 1
    threads: 1
    params:
        **stage("growth"),
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

# Stability: certificates from parameters alone, checked by dense matrices, and a search for counterexamples; what
# becomes of norms when networks are applied again and again, or have many blocks; other rules of extrapolation.


for number, batch in batches(JOBS, SHORT):

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
            RUN


for what in ("growth", "remedies"):
    grouped = by_network(STUDY.specs(what))
    for number, groups in batches(grouped.values(), LONG):
        batch = {name: spec for group in groups for name, spec in group.items()}
        jobs = [spec["job"] for spec in batch.values() if "job" in spec]

        rule:
            name:
                f"{what}_{number}"
            input:
                seeds_of(jobs, "json"),
                seeds_of(jobs, "safetensors"),
                sorted({RESULTS.dataset(JOBS[name]["dataset"]) for name in jobs}),
            output:
                [getattr(RESULTS, what)(name) for name in batch],
            log:
                LOGS / f"{what}-{number}.log",
            threads: 1
            params:
                **of_batch(what, batch),
            shell:
                RUN


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
        RUN

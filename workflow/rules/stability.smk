# Stability: certificates from parameters alone, checked by dense matrices, and a search for counterexamples.


rule stability:
    input:
        rules.train.output,
        lambda wildcards: RESULTS.dataset(JOBS[named(wildcards)]["dataset"]),
    output:
        RESULTS.job(JOB) / "stability.json",
    log:
        LOGS / "stability" / f"{JOB}.log",
    threads: 1
    params:
        **stage("stability"),
    shell:
        run("stability")

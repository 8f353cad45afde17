# Evolution: what diffusion makes of signals until a time T, and how near the numerical schemes come in n steps.

EVOLUTIONS = STUDY.specs("evolution")


rule evolution:
    input:
        lambda wildcards: RESULTS.dataset(EVOLUTIONS[named(wildcards)]["source"]),
    output:
        RESULTS.dataset("{evolution}"),
        RESULTS.dataset("{evolution}").with_suffix(".json"),
    log:
        LOGS / "evolution" / "{evolution}.log",
    priority: 1  # its trainings come last as it is
    threads: 1
    params:
        **stage("evolution"),
    shell:
        RUN


rule schemes:
    input:
        [RESULTS.dataset(name) for name in EVOLUTIONS],
    output:
        RESULTS.schemes,
    log:
        LOGS / "schemes.log",
    threads: 1
    params:
        **stage("schemes"),
    shell:
        RUN

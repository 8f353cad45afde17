# Tuning: every method's learning rate, chosen on validation data with seeds of its own.


rule tune:
    input:
        lambda wildcards: RESULTS.dataset(STUDY.specs("tune")[wildcards.method]["dataset"]),
    output:
        RESULTS.tuned("{method}"),
    log:
        LOGS / "tune" / "{method}.log",
    priority: 2  # everything waits for it
    threads: 1
    params:
        **stage("tune"),
    shell:
        RUN

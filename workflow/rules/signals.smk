# Signals: every data set is generated once and hashed.


rule signals:
    output:
        RESULTS.dataset("{dataset}"),
        RESULTS.dataset("{dataset}").with_suffix(".json"),
    log:
        LOGS / "signals" / "{dataset}.log",
    threads: 1
    params:
        **stage("signals"),
    shell:
        RUN

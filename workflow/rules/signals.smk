# Signals: every data set is generated once and hashed.


rule signals:
    output:
        RESULTS.dataset("{dataset}"),
        RESULTS.dataset("{dataset}").with_suffix(".json"),
    log:
        LOGS / "signals" / "{dataset}.log",
    params:
        **stage("signals"),
    threads: 1
    shell:
        run("signals")

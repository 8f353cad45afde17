# Multigrid: how fast the untrained cycles converge, the yardstick for learned ones.


rule multigrid:
    output:
        RESULTS.multigrid,
    log:
        LOGS / "multigrid.log",
    threads: 1
    params:
        **stage("multigrid"),
    shell:
        RUN

# Multigrid: how fast the untrained cycles converge, the yardstick for learned ones.


rule multigrid:
    output:
        RESULTS.multigrid,
    log:
        LOGS / "multigrid.log",
    params:
        **stage("multigrid"),
    threads: 1
    shell:
        run("multigrid")

# Claims: a verdict on every claim registered in config/claims.yaml.


rule claims:
    input:
        "config/claims.yaml",
        [RESULTS.table(name) for name in TABLES],
    output:
        RESULTS.claims,
        RESULTS.table("claims"),
        RESULTS.table("sensitivity"),
    log:
        LOGS / "claims.log",
    threads: 1
    params:
        **stage("claims"),
    shell:
        RUN

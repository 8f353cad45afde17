# Report: tables of all records, a verdict per claim, figures, one self-contained page, and a manifest with all hashes.


# tables/*.csv
rule tables:
    input:
        unpack(PLAN.inputs("tables")),
    output:
        **PLAN.outputs("tables"),
    log:
        PLAN.log("tables"),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=PLAN.minutes("tables"),
    params:
        **PLAN.params("tables"),
    shell:
        f"{RUN} tables {OPTIONS}"


# claims.json, tables/claims.csv, tables/sensitivity.csv, tables/power.csv
rule claims:
    input:
        unpack(PLAN.inputs("claims")),
    output:
        **PLAN.outputs("claims"),
    log:
        PLAN.log("claims"),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=PLAN.minutes("claims"),
    params:
        **PLAN.params("claims"),
    shell:
        f"{RUN} claims {OPTIONS}"


# figures/*.svg, figures/*.png, tables/learned.csv
rule figures:
    input:
        unpack(PLAN.inputs("figures")),
    output:
        **{
            key: (
                report(file, caption="../report/figure.rst", category="Figures", labels={"figure": Path(file).stem})
                if file.endswith(".svg")
                else file
            )
            for key, file in PLAN.outputs("figures").items()
        },
    log:
        PLAN.log("figures"),
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=PLAN.minutes("figures"),
    params:
        **PLAN.params("figures"),
    shell:
        f"{RUN} figures {OPTIONS}"


# report.html
rule report:
    input:
        unpack(PLAN.inputs("report")),
    output:
        report(*PLAN.outputs("report").values(), caption="../report/report.rst", category="Report"),
    log:
        PLAN.log("report"),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=PLAN.minutes("report"),
    params:
        **PLAN.params("report"),
    shell:
        f"{RUN} report {OPTIONS}"


# manifest.json, ro-crate-metadata.json
rule manifest:
    input:
        unpack(PLAN.inputs("manifest")),
    output:
        **PLAN.outputs("manifest"),
    log:
        PLAN.log("manifest"),
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=PLAN.minutes("manifest"),
    params:
        **PLAN.params("manifest"),
    shell:
        f"{RUN} manifest {OPTIONS}"

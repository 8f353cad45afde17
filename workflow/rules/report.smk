# Report: figures, one self-contained page, and a manifest with the hash of everything.

from schemenets.figures import FIGURES

TABLES = ["runs", "psnr", "curves", "tuning", "stability", "multigrid", "claims", "sensitivity"]


rule figures:
    input:
        [RESULTS.table(name) for name in TABLES],
        [RESULTS.dataset(name) for name in STUDY.test_sets],
    output:
        [RESULTS.figure(name, suffix) for name in FIGURES for suffix in ("svg", "png")],
    log:
        LOGS / "figures.log",
    params:
        **stage("figures"),
    threads: 1
    shell:
        run("figures")


rule report:
    input:
        rules.figures.output,
        [RESULTS.table(name) for name in TABLES],
        RESULTS.claims,
    output:
        RESULTS.report,
    log:
        LOGS / "report.log",
    params:
        **stage("report"),
    threads: 1
    shell:
        run("report")


rule manifest:
    input:
        "config/config.yaml",
        "config/claims.yaml",
        rules.report.output,
        rules.report.input,
        rules.tables.input,
        [RESULTS.job(name) / "evaluation.safetensors" for name in JOBS],
    output:
        RESULTS.manifest,
        RESULTS.root / "ro-crate-metadata.json",
    log:
        LOGS / "manifest.log",
    params:
        **stage("manifest"),
    threads: 1
    shell:
        run("manifest")

# Report: figures, one self-contained page, and a manifest with the hash of everything.

from pathlib import Path

from schemenets.study.figures import FIGURES

SHOWN = [RESULTS.table(name) for name in (*TABLES, "claims", "sensitivity")]


rule figures:
    input:
        SHOWN,
        [RESULTS.dataset(name) for name in STUDY.test_sets],
    output:
        [
            report(
                RESULTS.figure(name, "svg"),
                caption=f"../report/{name}.rst",
                category="Figures",
            )
            for name in FIGURES
        ],
        [RESULTS.figure(name, "png") for name in FIGURES],
    log:
        LOGS / "figures.log",
    threads: 1
    params:
        **stage("figures"),
    shell:
        RUN


rule report:
    input:
        rules.figures.output,
        SHOWN,
        RESULTS.claims,
        RESULTS.benchmarks,
        sorted(Path("src/schemenets/study/report/templates").iterdir()),
    output:
        report(RESULTS.report, caption="../report/report.rst", category="Report"),
    log:
        LOGS / "report.log",
    threads: 1
    params:
        **stage("report"),
    shell:
        RUN


rule manifest:
    input:
        "config/config.yaml",
        "config/claims.yaml",
        rules.report.output,
        rules.report.input,
        rules.tables.input,
        seeds_of(JOBS, "safetensors"),
        [RESULTS.job(name) / "evaluation.safetensors" for name in JOBS],
        seeds_of(SOLVERS, "safetensors"),
    output:
        RESULTS.manifest,
        RESULTS.root / "ro-crate-metadata.json",
    log:
        LOGS / "manifest.log",
    threads: 1
    params:
        **stage("manifest"),
    shell:
        RUN

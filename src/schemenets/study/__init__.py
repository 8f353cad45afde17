"""The study: what makes, judges, shows and audits results."""

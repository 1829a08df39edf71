"""The one tidy schema: what was measured (`schema.Observation`) and what was concluded (`schema.Verdict`, `schema.Recommendation`).

`schema` is plain frozen dataclasses on the standard library, which the server agent uses too; `document` validates and writes them.
"""

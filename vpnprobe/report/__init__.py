"""What a result says, to people. Reads observations and verdicts only, and decides nothing.

- `words`: how protocols, questions, outcomes, causes and bounds are said; makes strangers' text safe to show
- `headlines`: the verdict in one sentence
- `story`: where packets vanish, what each end sent and got, nmap's word beside ours, next steps
- `rows`: verdicts and observations as lines that link to each other
- `path`: the path as a drawing
- `html`: the HTML report, from `templates/`
- `text`: the verdict on a terminal
- `explore`: a result folder in a notebook: tables, figures, packets
"""

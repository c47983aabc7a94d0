"""Everything that decides who is champion. Start at :mod:`headway.promotion.promote`, which reads top to bottom.

- the gate: ``gate``, ``checks``, ``accuracy_checks``, ``paired_tests``, ``bootstrap``, ``alpha_spending``, ``paired_predictions``
- its input: ``candidates``, ``test_rows``, ``scoring``, ``unseen_rows``
- the decision and where it is kept: ``decision``, ``gate_code``, ``history``, ``history_queries``, ``champion``, ``rollback``
- around it: ``existing_decision``, ``outcome``, ``decision_report``, ``evaluation_report``, ``changed_texts``, ``commands``,
  ``lineage_report``
"""

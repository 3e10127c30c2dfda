"""Operations on users, cases, recordings, transcriptions and history: functions that take the session first."""

package authority

// RevocationsWaiting is how many revocations wait for the next entry.
func (s *Service) RevocationsWaiting() int { return s.revocations.Waiting() }

// IssuancesWaiting is how many announcements and records wait for the next entry.
func (s *Service) IssuancesWaiting() int { return s.issuances.Waiting() }

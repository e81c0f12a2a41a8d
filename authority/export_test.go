package authority

// RevocationsWaiting is how many revocations wait for the next entry.
func (s *Service) RevocationsWaiting() int { return s.revocations.Waiting() }

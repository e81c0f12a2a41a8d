package signing

// Admitted is a request between S1 and S5.
type Admitted = job

// Admit is S1.
func (s *Signer) Admit(r Request) (*Admitted, error) { return s.admit(r) }

// Gate is S5.
func (s *Signer) Gate(j *Admitted) error {
	_, err := s.gate(j)
	return err
}

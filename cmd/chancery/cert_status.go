package main

// certStatus checks: anything but good is exit 5.
func certStatus(s *session) error {
	c, err := s.certificate()
	if err != nil {
		return err
	}
	if err := s.show(certView(c)); err != nil {
		return err
	}
	if c.Status != "good" {
		return failedf("certificate %s is %s", c.Serial, c.Status)
	}
	return nil
}

package command

import "fmt"

// GatherIssuance carries what nodes announced and recorded at the same time, each its own:
// every part is judged as if it stood in an entry of its own, the records in their order
// and then the announcements in theirs. Only the leader proposes it.
//
// Records come first: somebody waits for a certificate that exists already, and one that
// is renewed by itself must be issued before its successor is announced.
type GatherIssuance struct {
	Records       []RecordIssued `cbor:"1,keyasint,omitempty"`
	Announcements []IssueIntents `cbor:"2,keyasint,omitempty"`
}

func (*GatherIssuance) Kind() Kind { return KindGatherIssuance }

func (c *GatherIssuance) Check() error {
	if len(c.Records)+len(c.Announcements) == 0 {
		return fmt.Errorf("no certificate is announced or recorded")
	}
	if err := count("parts", len(c.Records)+len(c.Announcements), MaxGathered); err != nil {
		return err
	}
	if err := count("certificates", c.Certificates(), MaxGatheredCerts); err != nil {
		return err
	}
	for i := range c.Records {
		if err := c.Records[i].Check(); err != nil {
			return err
		}
	}
	for i := range c.Announcements {
		if err := c.Announcements[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// Certificates is how many the parts are about; one that is announced and recorded counts
// twice.
func (c *GatherIssuance) Certificates() (n int) {
	for i := range c.Records {
		n += len(c.Records[i].Items)
	}
	for i := range c.Announcements {
		n += len(c.Announcements[i].Items)
	}
	return n
}

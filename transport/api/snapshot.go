package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// saveSnapshot streams a snapshot. Its trailer hash tells the reader whether it is
// whole: a stream that breaks has no other way to say so.
func (c *call) saveSnapshot() (any, error) {
	if err := c.may(access.SnapshotSave, ""); err != nil {
		return nil, err
	}
	if c.Snapshot == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node cannot stream a snapshot")
	}
	w := &patientWriter{c: c, control: http.NewResponseController(c.w)}
	err := c.Snapshot(c.r.Context(), w)
	if err != nil && c.streamed {
		c.Logger.Warn("stream a snapshot", "principal", c.caller.Principal, "err", err)
		panic(http.ErrAbortHandler) // the reader must see that it broke off
	}
	if err == nil && !c.streamed {
		return nil, fmt.Errorf("stream a snapshot: it is empty")
	}
	return nil, err
}

// patientWriter lets a stream take as long as it goes on moving. The status line
// goes out with the first bytes, so that an early failure is still an error object.
type patientWriter struct {
	c       *call
	control *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if !p.c.streamed {
		h := p.c.w.Header()
		transport.JSON(h)
		h["Content-Type"] = []string{wire.TypeBinary}
		p.c.stamper.Snapshot(h, p.c.snap)
		p.c.streamed, p.c.status = true, http.StatusOK
		p.c.w.WriteHeader(http.StatusOK)
	}
	// A ResponseWriter without deadlines is a test's.
	_ = p.control.SetWriteDeadline(time.Now().Add(streamWrites))
	return p.c.w.Write(b)
}

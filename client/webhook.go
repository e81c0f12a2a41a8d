package client

import (
	"fmt"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// eventAge is how old what a webhook is sent may be: each attempt is signed anew.
const eventAge = 5 * time.Minute

// VerifyEvent checks the body of a webhook's request and returns the event. The Subject
// is the name of the webhook. With the Epoch of the last event that was dealt with, one
// of another epoch is refused with *EpochChanged.
//
// Events come in the order of their Number, but the last ones come again when the leader
// changes or an answer was lost. One whose Number is not above the highest that was dealt
// with is old news: answer 2xx and do nothing. Whoever refuses it waits for ever, because
// the next one is not sent before it was taken.
//
// Fail closed: on any error nothing has happened that anybody knows of. Answer 4xx and
// the event comes again.
func VerifyEvent(jws string, e Expect) (*wire.EventClaims, error) {
	e.Index = 0 // an event that comes again is of an older entry, and rightly
	claims := new(wire.EventClaims)
	var about wire.Statement
	err := e.authentic(jws, wire.TypEvent, maxStatement, func(payload []byte) (*wire.Statement, error) {
		if err := wire.DecodeClaims(payload, claims); err != nil {
			return nil, err
		}
		epoch, index, err := wire.ParseEventID(claims.ID)
		if err != nil || epoch == 0 || index != claims.Index {
			return nil, fmt.Errorf("its id is %.40q", claims.ID)
		}
		about = wire.Statement{Cluster: claims.Cluster, Subject: claims.Webhook, Node: claims.SentBy, NodeID: claims.NodeID, AsOf: claims.SentAt,
			ExpiresAt: wire.AsTime(claims.SentAt.Time().Add(eventAge)), Position: wire.Position{Epoch: epoch, Index: index}}
		return &about, nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify an event: %w", err)
	}
	return claims, nil
}

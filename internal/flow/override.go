package flow

import (
	"context"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/gate"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow/evidence"
	"github.com/aksflow/aksflow/internal/flow/signing"
	"github.com/aksflow/aksflow/internal/proof"
)

// checkOverride wants that somebody may open the gates, where that is asked for.
func (d *Delivery) checkOverride() error {
	switch {
	case d.Override == "" && d.SignAs != (signing.As{}):
		return fault.Usagef("a key or an identity of the CI run signs an override: say the reason of one, or leave them out")
	case d.Override == "":
		return nil
	case d.env == nil || d.env.From == "":
		return fault.Usagef("an override opens the gates of an environment that images are promoted to, and this delivery has none: leave it out")
	case d.env.Gates.Override == nil:
		return fault.Usagef("nobody may open the gates of %s by an override: name who may in %s, such as environments.%s.gates.override: {by: [{key: keys/on-call.pub}]}", d.env.Name, d.config.Path(), d.env.Name)
	}
	return nil
}

// passGates opens the gates that are closed, if the caller asks for it and may. It returns a function that records that on the
// image; nil where there is nothing to record.
func (d *Delivery) passGates(ctx context.Context, c *candidate, detail *delivery.Promoted) (record attachTo, err error) {
	closed := gate.Closed(detail.Gates)
	if d.Override == "" || len(closed) == 0 {
		if d.Override != "" {
			report.Info(ctx, "all gates of %s are open: there is nothing to override", d.env.Name)
		}
		return nil, evidence.Closed(d.env.Name, c.Image.Digest, closed)
	}
	trust, err := d.keyring().Overriders()
	if err != nil {
		return nil, err
	}
	word := proof.Override{Environment: d.env.Name, Time: time.Now().UTC(), By: d.User, Reason: d.Override, RunURL: d.RunURL, Gates: []string{}}
	for _, v := range closed {
		word.Gates = append(word.Gates, v.Gate+": "+v.Message)
	}
	who, record, err := d.signWord(ctx, trust, c, word, "who may open the gates of "+d.env.Name+" does not include you")
	if err != nil {
		return nil, err
	}
	gate.Pass(detail.Gates, who, d.Override)
	for _, v := range closed {
		report.Warn(ctx, "the gate %s of %s is closed, and %s opens it: %s (%s)", v.Gate, d.env.Name, who, d.Override, v.Message)
	}
	return record, nil
}

// noteOf says who opened closed gates; "" when all were open.
func noteOf(detail *delivery.Promoted) string {
	for _, v := range detail.Gates {
		if v.Override != "" {
			return "gates opened by " + v.Override
		}
	}
	return ""
}

package flow

import "strings"

// Plan is what deliver would do, and why. It is the JSON of plan.
type Plan struct {
	Environment string   `json:"environment"` // "" when the image is built and tested only
	Target      string   `json:"target,omitempty"`
	Registry    string   `json:"registry,omitempty"`
	Image       string   `json:"image"`
	Version     string   `json:"version"`
	Tags        []string `json:"tags"`
	Steps       []string `json:"steps"`
	Reason      string   `json:"reason"`
}

// Plan says what Deliver would do.
func (d *Delivery) Plan() (*Plan, error) {
	steps, err := d.Steps()
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Image: d.config.Image, Version: d.Decision.Version, Tags: append([]string{}, d.Decision.Tags...),
		Steps: []string{}, Reason: d.Decision.Reason,
	}
	if d.env != nil {
		p.Environment, p.Target, p.Registry = d.env.Name, d.env.Target, d.env.Registry
	}
	for _, s := range steps {
		p.Steps = append(p.Steps, strings.TrimSpace(s.Name+" "+s.About))
	}
	return p, nil
}

package main

import (
	"fmt"

	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/doctor"
)

type doctorCmd struct {
	target
}

// Run writes one line for each check. The code is 1 if one failed.
func (c *doctorCmd) Run(s *session) error {
	client, address, err := c.client(s)
	if err != nil {
		return err
	}
	defer client.Close()
	failed := 0
	for check := range doctor.Examine(s.ctx, client, address) {
		if check.Level == doctor.Fail {
			failed++
		}
		if _, err := fmt.Fprintln(s.stdout, check); err != nil {
			return err
		}
	}
	if err := interrupted(s.ctx, nil); err != nil {
		return err
	}
	if failed > 0 {
		return &statusError{code: exitFailed}
	}
	return nil
}

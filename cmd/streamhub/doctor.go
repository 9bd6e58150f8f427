package main

import (
	"encoding/json"
	"fmt"

	"github.com/seed-147127fe/streamhub/internal/doctor"
)

type doctorCmd struct {
	redisPlace
	JSON   bool `help:"Write each check as a JSON object on a line: level (ok, warn, fail), name, detail and cure."`
	Strict bool `help:"Exit 1 on a warning, too."`
}

// Run writes one line for each check. The code is 1 if one failed, or with --strict warned.
func (c *doctorCmd) Run(s *session) error {
	if c.Redis == "" {
		return usagef("this command looks at Redis itself: name it with --redis, or set %s", redisVariable)
	}
	client, err := c.client(s, string(c.Redis))
	if err != nil {
		return err
	}
	defer client.Close()
	failed := 0
	for check := range doctor.Examine(s.ctx, client, string(c.Redis), doctor.Calls) {
		if check.Level == doctor.Fail || c.Strict && check.Level == doctor.Warn {
			failed++
		}
		if c.JSON {
			err = json.NewEncoder(s.stdout).Encode(check)
		} else {
			_, err = fmt.Fprintln(s.stdout, check)
		}
		if err != nil {
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

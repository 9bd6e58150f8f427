package tier_test

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/archive/tier"
)

// Entries leave Redis when they are a day old, but the last 100 of each segment stay.
func ExamplePolicy() {
	policy := tier.Policy{Age: 24 * time.Hour, KeepLast: 100}
	fmt.Println(policy.Age, policy.KeepLast)
	// Output:
	// 24h0m0s 100
}

// A policy with HotBytes bounds what a space takes in Redis, however fast it grows.
func ExamplePolicy_hotBytes() {
	policy := tier.Policy{HotBytes: 64 << 20}
	fmt.Println("entries leave above", policy.HotBytes/4*3>>20, "MiB")
	// Output:
	// entries leave above 48 MiB
}

// Spaces may have policies of their own. A policy of nil stands for that of all others.
func ExampleOptions() {
	options := tier.Options{
		Policy: tier.Policy{Age: 24 * time.Hour},
		PolicyFor: func(_ uuid.UUID, space string) *tier.Policy {
			if space == "audit" {
				return &tier.Policy{} // stays in Redis
			}
			return nil
		},
	}
	fmt.Println(options.PolicyFor(uuid.Nil, "audit").Age, options.PolicyFor(uuid.Nil, "orders") == nil)
	// Output:
	// 0s true
}

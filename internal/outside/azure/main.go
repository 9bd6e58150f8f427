// Command azure opens an archive in a storage account that cannot be reached, and says so.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/seed-147127fe/streamhub/archive/azure"
)

// nowhere answers no request.
type nowhere struct{}

func (nowhere) Do(*http.Request) (*http.Response, error) { return nil, fmt.Errorf("no network") }

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err := azure.Open(ctx, "account", "streamhub", &azure.Options{
		AccountKey: base64.StdEncoding.EncodeToString([]byte("a key")),
		Client: azcore.ClientOptions{
			Transport: nowhere{},
			Retry:     policy.RetryOptions{MaxRetries: -1},
		},
	})
	if err == nil {
		log.Fatal("an account that cannot be reached was opened")
	}
	fmt.Println(err)
	fmt.Println("ok")
}

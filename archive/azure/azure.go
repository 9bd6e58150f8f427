// Package azure keeps an archive in an Azure storage account, for any number of instances: a table
// is the index and holds the objects that fit into a table entity; blobs hold the larger ones.
//
// A manifest is replaced only if the etag of its table entity is still the expected one. The SDK
// repeats requests that are throttled or not answered; a repeat that finds its own write succeeds.
package azure

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

// Options say how to reach an account; nil stands for the defaults. Of the credentials the first field that is set is
// used.
type Options struct {
	// ConnectionString has endpoints and a credential, in the form that the portal shows. It must be for the account
	// that is opened.
	ConnectionString string
	// AccountKey is the shared key of the account.
	AccountKey string
	// SAS is a shared access signature for tables and blobs.
	SAS string
	// Credential is a token credential; the default is azidentity.NewDefaultAzureCredential.
	Credential azcore.TokenCredential
	// MustExist makes Open return ErrNotFound for a prefix that holds no archive. By default Open creates one.
	MustExist bool
	// Client configures the SDK: transport, retries, logging. By default a call is attempted up to five times, with
	// growing pauses or those that the service asks for.
	Client azcore.ClientOptions
}

// A Backend is an [archive.Backend] in a storage account.
type Backend struct {
	table *aztables.Client
	blobs *container.Client
}

var _ archive.Backend = (*Backend)(nil)

// prefixes matches names that are valid for a table and for a container.
var prefixes = regexp.MustCompile(`^[a-z][a-z0-9]{2,62}$`)

// Open opens the archive under a prefix, which is the name of its table and of its container: 3 to 63 lower-case
// letters and digits. Open creates both if they do not exist and the credential allows it; ctx bounds that.
func Open(ctx context.Context, account, prefix string, options *Options) (*Backend, error) {
	o := Options{}
	if options != nil {
		o = *options
	}
	if !prefixes.MatchString(prefix) {
		return nil, fmt.Errorf("%w: archive prefix %q: 3 to 63 small letters and digits, the first one a letter", streamhub.ErrInvalidArgument, prefix)
	}
	if r := &o.Client.Retry; r.MaxRetries == 0 {
		r.MaxRetries, r.TryTimeout, r.RetryDelay, r.MaxRetryDelay = 4, 30*time.Second, 200*time.Millisecond, 10*time.Second
	}
	service, blobs, err := o.clients(account, prefix)
	if err != nil {
		return nil, fmt.Errorf("%w: azure storage account %q: %w", streamhub.ErrInvalidArgument, account, err)
	}
	b := &Backend{table: service.NewClient(prefix), blobs: blobs}
	if o.MustExist {
		if err := b.exists(ctx); err != nil {
			return nil, fmt.Errorf("azure://%s/%s: %w", account, prefix, err)
		}
		return b, nil
	}
	if _, err := b.table.CreateTable(ctx, nil); !made(err) {
		return nil, outcome(err)
	}
	if _, err := b.blobs.Create(ctx, nil); !made(err) {
		return nil, outcome(err)
	}
	return b, nil
}

// exists returns an error unless the table, and so the archive, exists.
func (b *Backend) exists(ctx context.Context) error {
	one := int32(1)
	_, err := b.table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: &one}).NextPage(ctx)
	if status(err) == 404 {
		return fmt.Errorf("%w: there is no archive of that name; check it", streamhub.ErrNotFound)
	}
	return outcome(err)
}

// made reports whether a table or container can be assumed to exist. A credential that may not create it (403) may
// still use it.
func made(err error) bool { return err == nil || status(err) == 409 || status(err) == 403 }

func (o *Options) clients(account, prefix string) (*aztables.ServiceClient, *container.Client, error) {
	tables := &aztables.ClientOptions{ClientOptions: o.Client}
	blobs := &container.ClientOptions{ClientOptions: o.Client}
	tableURL := "https://" + account + ".table.core.windows.net"
	blobURL := "https://" + account + ".blob.core.windows.net/" + prefix
	switch {
	case o.ConnectionString != "":
		if name := accountOf(o.ConnectionString); name != account {
			return nil, nil, fmt.Errorf("the connection string is for account %q", name)
		}
		t, err1 := aztables.NewServiceClientFromConnectionString(o.ConnectionString, tables)
		c, err2 := container.NewClientFromConnectionString(o.ConnectionString, prefix, blobs)
		return t, c, errors.Join(err1, err2)
	case o.AccountKey != "":
		tableKey, err1 := aztables.NewSharedKeyCredential(account, o.AccountKey)
		blobKey, err2 := container.NewSharedKeyCredential(account, o.AccountKey)
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		t, err1 := aztables.NewServiceClientWithSharedKey(tableURL, tableKey, tables)
		c, err2 := container.NewClientWithSharedKeyCredential(blobURL, blobKey, blobs)
		return t, c, errors.Join(err1, err2)
	case o.SAS != "":
		query := "?" + strings.TrimPrefix(o.SAS, "?")
		t, err1 := aztables.NewServiceClientWithNoCredential(tableURL+"/"+query, tables)
		c, err2 := container.NewClientWithNoCredential(blobURL+query, blobs)
		return t, c, errors.Join(err1, err2)
	}
	if o.Credential == nil {
		var err error
		if o.Credential, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: o.Client}); err != nil {
			return nil, nil, err
		}
	}
	t, err1 := aztables.NewServiceClient(tableURL, o.Credential, tables)
	c, err2 := container.NewClient(blobURL, o.Credential, blobs)
	return t, c, errors.Join(err1, err2)
}

// accountOf returns the account that a connection string names.
func accountOf(text string) string {
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch strings.TrimSpace(name) {
		case "AccountName":
			return value
		case "TableEndpoint": // a connection string with a signature has no name
			host := value[strings.Index(value, "//")+2:]
			if account, _, ok := strings.Cut(host, ".table."); ok {
				return account
			}
		}
	}
	return ""
}

// Close does nothing: the backend holds no resources.
func (b *Backend) Close() error { return nil }

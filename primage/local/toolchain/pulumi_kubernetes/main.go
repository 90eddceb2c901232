// The Kubernetes provider of Pulumi, for tests: the provider's own code, without the schema that its command embeds.
package main

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// Set by the build: what the Python SDK of requirements.txt asks for.
var version = "0.0.0"

func main() {
	schema := fmt.Sprintf(`{"name": "kubernetes", "version": %q}`, version)
	provider.Serve("kubernetes", version, []byte(schema), []byte("{}"))
}

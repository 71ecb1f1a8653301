package azure

import (
	"net/url"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	// For the resource managers' addresses, which it adds to package cloud.
	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Scopes of access tokens, which are the same in all clouds.
const (
	registryScope = "https://containerregistry.azure.net/.default"
	// clusterScope is the API servers of AKS: an application of Microsoft's.
	// https://learn.microsoft.com/azure/aks/kubelogin-authentication
	clusterScope = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
)

// cloudOf is a cloud with what the SDK does not say about it.
type cloudOf struct {
	name          string
	configuration cloud.Configuration
	// registries is the domain of its container registries' login servers.
	registries string
	// known means that Entra's instance discovery has the login server.
	known bool
	// transport is nil for the SDK's own.
	transport policy.Transporter
}

func clouds() []cloudOf {
	return []cloudOf{
		{"AzurePublic", cloud.AzurePublic, "azurecr.io", true, nil},
		{"AzureChina", cloud.AzureChina, "azurecr.cn", true, nil},
		{"AzureGovernment", cloud.AzureGovernment, "azurecr.us", true, nil},
	}
}

// The variables that choose a cloud.
const (
	varAuthority = "AZURE_AUTHORITY_HOST"        // the login server, as the Azure SDK reads it
	varCloud     = "AZURE_ENVIRONMENT"           // its name, as Terraform and the older SDKs read it
	varARM       = "AZURE_RESOURCE_MANAGER_HOST" // the resource manager beside a login server of its own
)

// cloudNames are what AZURE_ENVIRONMENT may say, in lower case, in the order of clouds.
var cloudNames = [][]string{
	{"azurepublic", "azurepubliccloud", "azurecloud", "public"},
	{"azurechina", "azurechinacloud", "china"},
	{"azuregovernment", "azureusgovernment", "azureusgovernmentcloud", "usgovernment"},
}

// authorities are login servers that are other names of a cloud's, in the order of clouds.
var authorities = [][]string{
	{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
	{"login.chinacloudapi.cn", "login.partner.microsoftonline.cn"},
	{"login.microsoftonline.us"},
}

// cloud returns the cloud of the environment: by the login server, else by its name, else the public one.
func (e environment) cloud() (cloudOf, error) {
	if authority := e.get(varAuthority); authority != "" {
		return e.byAuthority(authority)
	}
	name := e.get(varCloud)
	if name == "" {
		return clouds()[0], nil
	}
	for i, names := range cloudNames {
		if slices.Contains(names, strings.ToLower(name)) {
			return clouds()[i], nil
		}
	}
	return cloudOf{}, fault.Usagef("the variable %s is %q: want AzurePublicCloud, AzureChinaCloud or AzureUSGovernmentCloud", varCloud, name)
}

func (e environment) byAuthority(authority string) (cloudOf, error) {
	if !strings.Contains(authority, "://") {
		authority = "https://" + authority
	}
	u, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return cloudOf{}, fault.Usagef("the variable %s is %q: want the address of a login server, such as https://login.microsoftonline.com/", varAuthority, authority)
	}
	for i, hosts := range authorities {
		if slices.Contains(hosts, u.Hostname()) {
			known := clouds()[i]
			known.configuration.ActiveDirectoryAuthorityHost = authority
			return known, nil
		}
	}
	manager := "https://" + strings.TrimSuffix(strings.TrimPrefix(e.get(varARM), "https://"), "/")
	if e.get(varARM) == "" {
		manager = cloud.AzurePublic.Services[cloud.ResourceManager].Endpoint
	}
	return cloudOf{name: u.Host, registries: "azurecr.io", configuration: cloud.Configuration{
		ActiveDirectoryAuthorityHost: authority,
		Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: manager, Audience: manager}},
	}}, nil
}

func (c cloudOf) clientOptions() policy.ClientOptions {
	return policy.ClientOptions{Cloud: c.configuration, Transport: c.transport, Telemetry: policy.TelemetryOptions{ApplicationID: "aksflow"}}
}

func (c cloudOf) armOptions() *arm.ClientOptions {
	// Registering a resource provider is a right that a delivery has not, and it uses what exists.
	return &arm.ClientOptions{ClientOptions: c.clientOptions(), DisableRPRegistration: true}
}

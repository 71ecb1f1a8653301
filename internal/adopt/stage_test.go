package adopt_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/adopt"
)

// The stage that is suggested has the whole project, and its dependencies as the Dockerfile installs them.
func TestStagesThatRun(t *testing.T) {
	const golang = "FROM golang:1.26 AS builder\nWORKDIR /src\nCOPY . .\nRUN go build -o /app ./...\nFROM scratch\nCOPY --from=builder /app /app\nEXPOSE 80\n"
	const uv = "FROM python:3.14-slim AS base\nCOPY --from=ghcr.io/astral-sh/uv:latest /uv /bin/uv\nFROM base AS builder\nWORKDIR /app\nCOPY pyproject.toml uv.lock ./\n" +
		"RUN uv sync --frozen --no-dev --no-install-project\nFROM base\nWORKDIR /app\nCOPY --from=builder /app/.venv /app/.venv\nCOPY . .\nEXPOSE 80\n"
	const pip = "FROM python:3.12-alpine\nWORKDIR /app\nCOPY requirements.txt .\nRUN apk add gcc\nRUN pip install --no-cache-dir -r requirements.txt\nCOPY . .\nEXPOSE 80\n"
	const poetry = "FROM python:3.13 AS builder\nRUN pip install poetry\nWORKDIR /app\nCOPY pyproject.toml poetry.lock ./\nRUN poetry install --only main --no-root\nFROM python:3.13-slim\nCOPY --from=builder /app/.venv /app/.venv\nCOPY . .\nEXPOSE 80\n"
	for name, test := range map[string]struct {
		files  map[string]string
		want   string // the lines of the stage; "" for none
		notice string
	}{
		"Go, of several packages": {
			map[string]string{"Dockerfile": golang, "go.mod": "module m\n", "pkg/a/x_test.go": "package x\n", "pkg/c/d/x_test.go": "package x\n"},
			"FROM builder AS test\nWORKDIR /test\nCOPY . .\nRUN go install gotest.tools/gotestsum@latest\nCMD [\"gotestsum\", \"--junitfile\", \"/reports/unit.xml\", \"./...\"]\n", "",
		},
		"Go, in a directory": {
			map[string]string{"Dockerfile": strings.ReplaceAll(golang, "COPY . .", "COPY src ."), "src/go.mod": "module m\n", "src/a/x_test.go": "package x\n"},
			"FROM builder AS test\nWORKDIR /test\nCOPY src .\nRUN go install", "",
		},
		"Go, a module outside of the context": {
			map[string]string{"src/a/Dockerfile": golang, "src/b/Dockerfile": golang, "go.mod": "module m\n", "src/a/x_test.go": "package x\n"},
			"", "src/a/Dockerfile: there are tests for Go in the top directory, but no stage that runs them is proposed: the top directory is outside of the build context src/a",
		},
		"Go, with modules beside it": {
			map[string]string{"Dockerfile": golang, "go.mod": "module m\n\nreplace x => ../x\n", "x_test.go": "package x\n"},
			"", "needs other modules of this repository that are outside of its directory",
		},
		"Go, without a module": {
			map[string]string{"Dockerfile": golang, "a/x_test.go": "package x\n"},
			"", "no go.mod was found above the tests",
		},
		"Go, that no stage has": {
			map[string]string{"Dockerfile": "FROM scratch\nCOPY app /\nEXPOSE 80\n", "app": "", "go.mod": "module m\n", "x_test.go": "package x\n"},
			"", "no stage of the Dockerfile has Go",
		},
		"Python, with uv": {
			map[string]string{"Dockerfile": uv, "pyproject.toml": "", "uv.lock": "[[package]]\nname = \"pytest\"\n", "tests/test_a.py": "", "__init__.py": ""},
			"FROM builder AS test\nWORKDIR /test/web\nCOPY . .\nRUN uv sync --frozen --no-install-project\nCMD [\"uv\", \"run\", \"--no-sync\", \"python\", \"-m\", \"pytest\", \"--junitxml=/reports/unit.xml\"]\n", "",
		},
		"Python, with uv, without pytest": {
			map[string]string{"Dockerfile": uv, "pyproject.toml": "", "uv.lock": "", "tests/test_a.py": ""},
			"RUN uv sync --frozen --no-install-project\nRUN uv pip install pytest\nCMD", "",
		},
		"Python, with pip": {
			map[string]string{"Dockerfile": pip, "requirements.txt": "flask\n", "tests/unit/test_a.py": ""},
			"FROM python:3.12-alpine AS test\nWORKDIR /test/web\nCOPY . .\nRUN apk add gcc\nRUN pip install -r requirements.txt pytest\nCMD [\"python\", \"-m\", \"pytest\", \"--junitxml=/reports/unit.xml\"]\n", "",
		},
		"Python, in a stage with an entry point": {
			map[string]string{"Dockerfile": strings.Replace(pip, "alpine\n", "alpine AS base\nUSER app\nENTRYPOINT [\"python\"]\n", 1), "requirements.txt": "flask\n", "test_a.py": ""},
			"FROM base AS test\nUSER root\nWORKDIR /test/web\nCOPY . .\nENTRYPOINT []\nRUN pip install", "",
		},
		"Python, whose tests are left out": {
			map[string]string{"Dockerfile": uv, "pyproject.toml": "", "uv.lock": "", "tests/test_a.py": "", ".dockerignore": "tests/*\n"},
			"", "its .dockerignore leaves tests/test_a.py out of the build context. Write a stage test",
		},
		"Python, without dependencies": {
			map[string]string{"Dockerfile": "FROM python\nCOPY app.py .\nEXPOSE 80\n", "app.py": "", "tests/test_a.py": ""},
			"", "neither pyproject.toml nor requirements.txt was found above the tests",
		},
		"JavaScript, of a workspace": {
			map[string]string{"web/Dockerfile": "FROM node:22\nCOPY . .\nRUN npm install\nEXPOSE 80\n", "web/package.json": `{"scripts": {"test": "jest"}}`, "pnpm-workspace.yaml": ""},
			"", "it is a part of the workspace in the top directory",
		},
		"JavaScript, of a workspace of npm": {
			map[string]string{"web/Dockerfile": "FROM node:22\nCOPY . .\nRUN npm install\nEXPOSE 80\n", "web/package.json": `{"scripts": {"test": "jest"}}`, "package.json": `{"workspaces": ["web"]}`},
			"", "it is a part of the workspace in the top directory",
		},
		"PHP": {
			map[string]string{"Dockerfile": "FROM composer:2 AS vendor\nCOPY . .\nRUN composer install --no-dev\nFROM php:8.4-apache\nEXPOSE 80\n", "composer.json": "{}", "phpunit.xml.dist": "", "package.json": `{"scripts": {"test": "make test"}}`},
			"# There are tests for JavaScript in the top directory, too.\n# There are tests for PHP in the top directory. With this stage in Dockerfile, before the last one, they run in each delivery:\n#\nFROM vendor AS test\nWORKDIR /test\nCOPY . .\nRUN composer install --no-interaction\nCMD [\"vendor/bin/phpunit\", \"--log-junit\", \"/reports/unit.xml\"]\n", "",
		},
		"Ruby": {
			map[string]string{"Dockerfile": "FROM ruby:3.4 AS base\nENV BUNDLE_WITHOUT=test\nCOPY . .\nRUN bundle install\nEXPOSE 80\n", "Gemfile": "", "spec/models/a_spec.rb": ""},
			"RUN unset BUNDLE_WITHOUT BUNDLE_DEPLOYMENT BUNDLE_FROZEN; bundle install && bundle add rspec_junit_formatter\nCMD [\"sh\", \"-c\", \"unset BUNDLE_WITHOUT BUNDLE_DEPLOYMENT BUNDLE_FROZEN; bundle exec rspec --format progress --format RspecJunitFormatter --out /reports/unit.xml\"]\n", "",
		},
		"Ruby, without RSpec": {
			map[string]string{"Dockerfile": "FROM ruby:3.4\nRUN bundle install\nEXPOSE 80\n", "Gemfile": "", "test/a_test.rb": ""},
			"", "what runs them is not known",
		},
		"Rust": {
			map[string]string{"Dockerfile": "FROM rust:1.96 AS chef\nRUN cargo install cargo-chef\nFROM debian\nEXPOSE 80\n", "Cargo.toml": "", "src/main.rs": "#[test]\nfn a() {}\n"},
			"FROM chef AS test\nWORKDIR /test\nCOPY . .\nRUN mkdir -p .config && printf '[profile.ci.junit]\\npath = \"junit.xml\"\\n' > .config/nextest.toml\nRUN cargo install --locked cargo-nextest\n", "",
		},
		"Maven, of several modules": {
			map[string]string{"Dockerfile": "FROM maven:3 AS build\nCOPY . .\nRUN mvn package\nFROM eclipse-temurin\nEXPOSE 80\n", "pom.xml": "", "a/pom.xml": "", "a/src/test/java/ATest.java": ""},
			"FROM build AS test\nWORKDIR /test\nCOPY . .\nCMD [\"sh\", \"-c\", \"mvn -B test;", "",
		},
		".NET": {
			map[string]string{"Dockerfile": "FROM mcr.microsoft.com/dotnet/aspnet:9.0 AS base\nFROM mcr.microsoft.com/dotnet/sdk:9.0 AS build\nRUN dotnet restore\nFROM base\nEXPOSE 80\n", "App.sln": "", "tests/App.Tests/App.Tests.csproj": "<Project/>"},
			"FROM build AS test\nWORKDIR /test\nCOPY . .\nRUN dotnet add tests/App.Tests/App.Tests.csproj package JunitXml.TestLogger\nCMD [\"dotnet\", \"test\",", "",
		},
		"Python, with Poetry": {
			map[string]string{"Dockerfile": poetry, "pyproject.toml": "", "poetry.lock": "[[package]]\nname = \"pytest\"\n", "tests/test_a.py": ""},
			"FROM builder AS test\nWORKDIR /test/web\nCOPY . .\nRUN poetry install --no-interaction --no-root\nCMD [\"poetry\", \"run\", \"python\", \"-m\", \"pytest\", \"--junitxml=/reports/unit.xml\"]\n", "",
		},
		"Python, with Poetry, a package without pytest": {
			map[string]string{"Dockerfile": strings.ReplaceAll(poetry, " --no-root", ""), "pyproject.toml": "", "poetry.lock": "", "tests/test_a.py": ""},
			"RUN poetry install --no-interaction\nRUN poetry run pip install pytest\nCMD", "",
		},
		"Python, with Pipenv": {
			map[string]string{"Dockerfile": "FROM python AS deps\nCOPY Pipfile Pipfile.lock ./\nRUN pip install pipenv && pipenv install --deploy\nFROM deps\nEXPOSE 80\n", "Pipfile": "", "Pipfile.lock": `{"develop": {"pytest": {}}}`, "test_a.py": ""},
			"FROM deps AS test\nWORKDIR /test/web\nCOPY . .\nRUN pipenv install --dev --deploy\nCMD [\"pipenv\",", "",
		},
		"Maven, a module, with the wrapper": {
			map[string]string{"api/Dockerfile": "FROM eclipse-temurin:21 AS build\nCOPY pom.xml mvnw ./\nCOPY api api\nRUN ./mvnw -pl api -am package\nFROM eclipse-temurin:21-jre\nEXPOSE 80\n", "pom.xml": "", "mvnw": "", "api/pom.xml": "", "api/src/test/java/ATest.java": "", "b/pom.xml": ""},
			"FROM build AS test\nWORKDIR /test\nCOPY . .\nCMD [\"sh\", \"-c\", \"./mvnw -B test -pl api -am; s=$?;", "",
		},
		"Gradle, a module": {
			map[string]string{"svc/api/Dockerfile": "FROM gradle:9 AS build\nCOPY settings.gradle .\nCOPY svc svc\nRUN gradle :svc:api:build\nFROM eclipse-temurin\nEXPOSE 80\n", "settings.gradle": "", "gradlew": "", "svc/api/build.gradle.kts": "", "svc/api/src/test/kotlin/ATest.kt": ""},
			"FROM build AS test\nWORKDIR /test\nCOPY . .\nCMD [\"sh\", \"-c\", \"gradle :svc:api:test; s=$?;", "",
		},
		"Rust, a package": {
			map[string]string{"api/Dockerfile": "FROM rust:1 AS build\nCOPY Cargo.toml .\nCOPY api api\nRUN cargo build\nFROM debian\nEXPOSE 80\n", "Cargo.toml": "[workspace]\n", "api/Cargo.toml": "[package]\nversion = \"1\"\nname = \"shop-api\"\n", "api/src/main.rs": "#[test]\n"},
			"cargo nextest run -p shop-api --profile ci;", "",
		},
		".NET, a service of several": {
			dotnet(map[string]string{"tests/Api.Tests/Api.Tests.csproj": refersTo("../../src/Shared/Shared.csproj"), "tests/Web.Tests/Web.Tests.csproj": refersTo("../../src/Web/Web.csproj"), "tests/Api.FunctionalTests/Api.FunctionalTests.csproj": refersTo(`..\..\src\Api\Api.csproj`)}),
			"FROM build AS test\nWORKDIR /test\nCOPY . .\nRUN dotnet add tests/Api.Tests/Api.Tests.csproj package JunitXml.TestLogger\nCMD [\"dotnet\", \"test\", \"tests/Api.Tests/Api.Tests.csproj\", \"--logger\",", "",
		},
		".NET, a service with several test projects": {
			dotnet(map[string]string{"tests/A.Tests.csproj": refersTo("../src/Api/Api.csproj"), "tests/B.Tests.csproj": refersTo("../src/Api/Api.csproj"), "tests/Web.Tests.csproj": refersTo("../src/Web/Web.csproj")}),
			"for p in tests/A.Tests.csproj tests/B.Tests.csproj; do dotnet test $p --logger 'junit;LogFilePath=/reports/{assembly}.xml' || s=$?; done; exit $s", "",
		},
		".NET, a service without tests": {
			dotnet(map[string]string{"tests/Web.Tests.csproj": refersTo("../src/Web/Web.csproj")}),
			"", "no test project refers to one in src/Api",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := propose(t, adopt.Options{Name: "web"}, test.files)
			text := strings.ReplaceAll(p.Files[len(p.Files)-1].Content, "#   ", "")
			assert.Contains(t, text, test.want)
			assert.Contains(t, strings.Join(p.Notices, "\n"), test.notice)
			assert.Equal(t, test.want != "", strings.Contains(text, " AS test\n"), text)
		})
	}
}

// dotnet is a solution of .NET with a service that has the Dockerfile of Visual Studio.
func dotnet(tests map[string]string) map[string]string {
	files := map[string]string{
		"App.sln": "", "src/Api/Api.csproj": refersTo("../Core/Core.csproj"), "src/Core/Core.csproj": "<Project/>", "src/Web/Web.csproj": "<Project/>",
		"src/Shared/Shared.csproj": refersTo("../Api/Api.csproj"),
		"src/Api/Dockerfile":       "FROM mcr.microsoft.com/dotnet/sdk:9.0 AS build\nWORKDIR /src\nCOPY [\"src/Api/Api.csproj\", \"src/Api/\"]\nRUN dotnet restore src/Api/Api.csproj\nCOPY . .\nFROM mcr.microsoft.com/dotnet/aspnet:9.0\nEXPOSE 8080\n",
	}
	for name, text := range tests {
		files[name] = text
	}
	return files
}

// refersTo is a project of .NET that refers to another one.
func refersTo(project string) string {
	return `<Project Sdk="Microsoft.NET.Sdk"><ItemGroup><ProjectReference Include="` + project + `" /></ItemGroup></Project>`
}

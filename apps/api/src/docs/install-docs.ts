import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import { SERVER_VERSION } from '../version.js';
import { describeBodies } from './protocol-bodies.js';
import { describeAnswers } from './responses.js';

const DESCRIPTION = `Warm lanes for ONNX Runtime.

\`/v2\` is the Open Inference Protocol: no Content-Type is looked at, errors are \`{"error": "text"}\`.
Everything else answers errors as \`{"error": {"code", "message", "hint", "retryable"}}\`; the code is also in the header \`warmlane-error\`.`;

/** The description of every route at /docs (for people) and /docs-json, from the controllers and their schemas. */
export function installDocs(app: NestFastifyApplication): void {
  SwaggerModule.setup('docs', app, () => createDocument(app), { customSiteTitle: 'Warmlane API' });
}

function createDocument(app: NestFastifyApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setTitle('Warmlane')
    .setDescription(DESCRIPTION)
    .setVersion(SERVER_VERSION)
    .addBearerAuth({ type: 'http', scheme: 'bearer', description: 'An API key, where keys are set.' })
    .addSecurityRequirements('bearer')
    .build();
  return describeAnswers(describeBodies(SwaggerModule.createDocument(app, config)));
}

import { StandardSchemaValidationPipe } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';

/** Checks bodies and queries by their schema; every issue is named in one `bad-request`. */
export const restValidation = new StandardSchemaValidationPipe({
  exceptionFactory: (issues) =>
    new WarmlaneError(
      'bad-request',
      issues
        .map((issue) => {
          const path = (issue.path ?? []).map((step) => String(typeof step === 'object' ? step.key : step)).join('.');
          return path === '' ? issue.message : `${path}: ${issue.message}`;
        })
        .join('; '),
      'See /docs for the form.',
    ),
});
